# lme4 beside ours: seconds for 20 draws of bootMer on cbpp and for one fit of VerbAgg, its -2 log-likelihood and
# coefficients. The rows of VerbAgg go to the file named by the first argument. Needs lme4.
suppressPackageStartupMessages(library(lme4))
data(VerbAgg, package = "lme4")
write.csv(VerbAgg, commandArgs(TRUE)[1], row.names = FALSE)
m <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)
statistics <- function(f) c(fixef(f), sqrt(unlist(VarCorr(f))))
set.seed(1)
b <- system.time(bootMer(m, statistics, nsim = 20))[["elapsed"]]
v <- system.time(f <- glmer(r2 ~ Gender + btype + situ + (1 | id) + (1 | item), VerbAgg, binomial))[["elapsed"]]
cat(b, v, -2 * as.numeric(logLik(f)), fixef(f), "\n")
