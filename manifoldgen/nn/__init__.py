"""Networks: torch alone, no scikit-learn."""
