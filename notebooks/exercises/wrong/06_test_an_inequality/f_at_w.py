# cell: excess
# message: f is read at w; the statement is about f at x
# reveals: The weights themselves need not descend like this; that is what the drained iterate is for.
def excess(case, C):
    run, problem, gamma = case.run(), case.problem, case.gamma
    allowance = gamma**2 * problem.L * problem.gradient_bound() * C
    f = problem.f(run.w)
    grad2 = (problem.grad(run.w) ** 2).sum(axis=-1)
    changes = [given_history(f[t + 1] - f[t] + gamma * grad2[t], case.n, t).max() for t in range(case.T)]
    return float(max(changes) - allowance)
