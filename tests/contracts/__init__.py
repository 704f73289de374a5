"""One suite for each contract, passed by every vendor and by the fakes."""
