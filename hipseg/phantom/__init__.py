"""The phantom: a seeded pediatric CT data set, drawn from implicit shapes and written as a scanner and Mimics would leave it."""
