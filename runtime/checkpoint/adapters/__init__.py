"""How the objects of each framework are saved; a module here is imported when such an object is first met."""
