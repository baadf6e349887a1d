"""Documents of kind Plugin: their keys and the problems in them."""
