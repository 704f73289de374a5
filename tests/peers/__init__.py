"""Real servers, started for the tests."""
