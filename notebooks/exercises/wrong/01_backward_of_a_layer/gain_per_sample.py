# cell: rms-norm
# message: d loss/d gain: expected shape
# reveals: A parameter that all samples share is treated like an input: the sum over the batch is missing.
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
        dz = dy * params["gain"]
        dx = (dz - z * (dz * z).mean(axis=1, keepdims=True)) / r
        return dx, {"gain": dy * z}
