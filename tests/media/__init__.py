"""Pictures: foreign files in, finished copies out."""
