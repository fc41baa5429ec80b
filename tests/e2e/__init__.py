"""The product as its users meet it: over HTTP, with the real client libraries, on the whole stack."""
