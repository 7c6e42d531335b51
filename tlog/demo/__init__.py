"""The demonstration: a day in a hospital, appended, proved, verified and attacked."""
