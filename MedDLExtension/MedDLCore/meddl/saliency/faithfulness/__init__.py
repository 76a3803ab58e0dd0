"""How far a map may be believed: measures of faithfulness. ``MEASURES`` of :mod:`.known` lists them."""
