"""`make chaos`: the engine, killed again and again while people edit everywhere; in the end everything is compared."""
