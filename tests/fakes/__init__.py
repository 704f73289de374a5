"""Stateful stand-ins for vendors: they answer as these do, can be told to fail, and let people edit meanwhile."""
