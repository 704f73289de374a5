"""What an analyst does by hand: look at incidents, edit one, link it with a record, unlink it."""
