"""Events to sessions, sessions to train and test: SQL texts and the modules that run them."""
