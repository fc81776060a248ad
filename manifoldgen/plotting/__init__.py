"""Displays: pictures of arrays and of fitted estimators."""
