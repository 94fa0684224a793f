"""Each script here times two things in one run and prints their ratio; none is a test."""
