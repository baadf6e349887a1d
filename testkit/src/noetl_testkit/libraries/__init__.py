"""An index of packages for tests: a folder of small wheels."""
