"""The formats a dataset can have, each a file. ``FORMATS`` of :mod:`meddl.datasets.formats.known` lists them."""
