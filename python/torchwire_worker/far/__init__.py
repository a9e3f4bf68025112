"""What runs on the far side of an ssh connection, in whatever python3 is there: no syntax past Python 3.6, nothing but the standard library."""
