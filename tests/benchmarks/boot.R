# R's boot beside ours: seconds for mpg ~ wt + hp, B = 10,000 with .lm.fit, and B = 1,000 with lm. Needs only base R and boot.
suppressPackageStartupMessages(library(boot))
X <- model.matrix(mpg ~ wt + hp, mtcars); y <- mtcars$mpg
quick <- function(d, i) .lm.fit(X[i, , drop = FALSE], y[i])$coefficients
full <- function(d, i) coef(lm(mpg ~ wt + hp, data = d[i, ]))
set.seed(1)
a <- system.time(b <- boot(mtcars, quick, R = 10000))[["elapsed"]]
l <- system.time(boot(mtcars, full, R = 1000))[["elapsed"]]
cat(a, l, apply(b$t, 2, sd), "\n")
