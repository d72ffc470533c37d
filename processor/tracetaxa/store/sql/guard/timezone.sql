SELECT timezone()
