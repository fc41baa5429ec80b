"""The community as a whole: what must hold on every route and under everything at once."""
