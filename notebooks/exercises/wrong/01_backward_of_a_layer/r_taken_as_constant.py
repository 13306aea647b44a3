# cell: rms-norm
# message: x acts through z and through r, and r depends on every entry of the row
# reveals: The chain rule stops at the first path: r is treated as a constant.
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
        return dy * params["gain"] / r, {"gain": (dy * z).sum(axis=0)}
