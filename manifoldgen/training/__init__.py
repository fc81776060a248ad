"""The engine: torch alone, no scikit-learn."""
