"""Photo studios: one protocol, one small module each."""
