"""Which samples each window of a run holds, computed as the trainer does (worker/data/sample_order.h), so that another
program can train on the same batches in the same order. Pure."""

BITS = (1 << 64) - 1
ROUND = 0x9E3779B97F4A7C15


def mix(x):
    """SplitMix64's finaliser."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & BITS
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & BITS
    return x ^ (x >> 31)


class Permutation:
    """Of [0, samples), for one pass over the data: a Feistel network walked along its cycle until it lands inside."""

    def __init__(self, seed, epoch, samples):
        self.key = mix(mix(seed + ROUND & BITS) ^ (epoch + 0xD1B54A32D192ED03 & BITS))
        self.samples = samples
        bits = (samples - 1).bit_length()
        self.low_bits = (bits + 1) // 2
        self.low_mask = (1 << self.low_bits) - 1
        self.high_mask = (1 << bits - self.low_bits) - 1

    def __call__(self, position):
        while True:
            position = self.encrypt(position)
            if position < self.samples:
                return position

    def encrypt(self, x):
        low, high = x & self.low_mask, x >> self.low_bits
        for turn in range(0, 8, 2):
            low ^= mix(self.key + turn * ROUND + high & BITS) & self.low_mask
            high ^= mix(self.key + (turn + 1) * ROUND + low & BITS) & self.high_mask
        return high << self.low_bits | low


def window(seed, samples, batch_size, number):
    """Indices of the samples in window `number`, counted from 0 over the whole run; a pass's last one may be short."""
    per_epoch = -(-samples // batch_size)
    first = number % per_epoch * batch_size
    order = Permutation(seed, number // per_epoch, samples)
    return [order(position) for position in range(first, min(first + batch_size, samples))]
