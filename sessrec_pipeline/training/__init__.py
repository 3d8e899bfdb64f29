"""The loop of every trained model, in one process or in several."""
