# Permutations by a loop of .lm.fit beside ours: seconds for mpg ~ wt + hp, B = 10,000, without and with t of each coefficient.
X <- model.matrix(mpg ~ wt + hp, mtcars); y <- mtcars$mpg; n <- nrow(X); B <- 10000
t_values <- function() {
  f <- .lm.fit(X, y[sample.int(n)])
  f$coefficients / sqrt(sum(f$residuals^2) / (n - 3) * diag(chol2inv(f$qr[1:3, 1:3])))
}
set.seed(1)
for (i in 1:1000) t_values()
a <- system.time(for (i in 1:B) .lm.fit(X, y[sample.int(n)]))[["elapsed"]]
out <- matrix(0, B, 3)
b <- system.time(for (i in 1:B) out[i, ] <- t_values())[["elapsed"]]
cat(a, b, apply(out, 2, sd), "\n")
