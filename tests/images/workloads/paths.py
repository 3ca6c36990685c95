# Linux does not ask that a path be UTF-8; crit does.
latin = open(os.fsencode(D) + b"/latin-\xe9", "w")
