# cell: excess
# message: the gradient is read at x; the algorithm reads it at w
# reveals: w and x are taken for the same point, which is true only without delay.
def excess(case, C):
    run, problem, gamma = case.run(), case.problem, case.gamma
    allowance = gamma**2 * problem.L * problem.gradient_bound() * C
    f = problem.f(run.x)
    grad2 = (problem.grad(run.x) ** 2).sum(axis=-1)
    changes = [given_history(f[t + 1] - f[t] + gamma * grad2[t], case.n, t).max() for t in range(case.T)]
    return float(max(changes) - allowance)
