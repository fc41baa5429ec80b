"""The HTTP side: provider webhooks and the functions under /functions/v1."""
