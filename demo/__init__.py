"""The main job in two minutes, against a real issue tracker, without an account."""
