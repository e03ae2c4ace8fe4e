# mixes line ends, form feeds and a byte order mark: an honest program all the same
x = 1
if x:
	print(sum(map(int, input().split())))
