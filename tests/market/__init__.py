"""The market's cases: design/cases/market.md, each a test named after it, on a database of its own."""
