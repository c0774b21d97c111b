"""Where version 0.1 kept what docs/api.md imports from here."""
