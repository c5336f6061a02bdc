"""Scripts behind every number that the documentation states."""
