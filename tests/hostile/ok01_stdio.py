# control: honest
print(sum(map(int, input().split())))
