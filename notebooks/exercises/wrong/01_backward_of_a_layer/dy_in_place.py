# cell: rms-norm
# message: backward: expected dy to be left as it was
# reveals: An array that somebody else still needs is overwritten: the mistake behind most stale-weight bugs.
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
        gain = (dy * z).sum(axis=0)
        dy *= params["gain"]
        return (dy - z * (dy * z).mean(axis=1, keepdims=True)) / r, {"gain": gain}
