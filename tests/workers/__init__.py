"""The workers' parts by themselves: real keys, real signatures, a real database, a real server process."""
