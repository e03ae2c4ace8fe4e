# nests brackets, calls and conditions deeper than the compiler goes
exec(compile("(" * 199 + ")" * 199, "a", "exec"))
exec(compile("x" + ".a" * 200_000, "b", "exec"))
