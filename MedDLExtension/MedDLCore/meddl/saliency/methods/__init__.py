"""Methods of attribution, each a class in a file of its family. ``METHODS`` of :mod:`.known` lists them."""
