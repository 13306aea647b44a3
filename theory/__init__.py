"""The convergence statements about DDG as code: each measures both sides of its inequality.

Data flows one way: problems -> delayed -> exact -> claims -> campaign -> __main__.
"""
