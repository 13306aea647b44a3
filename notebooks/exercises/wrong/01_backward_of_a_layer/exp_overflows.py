# cell: softplus
# message: exp overflows; the form with tanh does not
# reveals: The formula is right on paper and not in floating point.
class Softplus(Layer):
    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, x):
        return np.logaddexp(0, x), x

    def backward(self, params, cache, dy):
        x = cache
        return dy * np.exp(x) / (1 + np.exp(x)), {}
