"""The peak memory of a program that a test starts with `python -c`."""

# To be prepended to the program. `ru_maxrss` would include the memory of pytest, which starts it.
PEAK_KILOBYTES = """
def peak_kilobytes():
    with open("/proc/self/status") as status:
        return int(status.read().partition("VmHWM:")[2].split()[0])

"""
