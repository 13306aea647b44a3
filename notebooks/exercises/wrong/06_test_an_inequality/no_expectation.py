# cell: excess
# message: no mean is taken over the next sample
# reveals: The expectation is dropped: a single unlucky sample counts as a counterexample.
def excess(case, C):
    run, problem, gamma = case.run(), case.problem, case.gamma
    allowance = gamma**2 * problem.L * problem.gradient_bound() * C
    f = problem.f(run.x)
    grad2 = (problem.grad(run.w) ** 2).sum(axis=-1)
    changes = [(f[t + 1] - f[t] + gamma * grad2[t]).max() for t in range(case.T)]
    return float(max(changes) - allowance)
