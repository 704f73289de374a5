"""How fast it is, and how much it takes: `python -m bench [PREFIX]`."""
