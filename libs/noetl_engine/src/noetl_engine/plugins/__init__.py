"""Documents of kind Plugin: their keys and what is wrong in them."""
