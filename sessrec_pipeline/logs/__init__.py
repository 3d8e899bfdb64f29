"""Session logs: what lands, what is read, what is made up for the demo."""
