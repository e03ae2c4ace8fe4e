# prints digits of other scripts, signs and spaces that look like the answer
print("\u0666")
print("\uff16 6\u200b +6 06 6.0 0x6 6_ \u00006")
