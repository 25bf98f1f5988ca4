# lme4 beside ours, in turns: each line read is a task, each line written its seconds and then what it found.
# Draws and repetitions are few, and scaled up by whoever reads: bootMer is linear in them. Needs lme4.
suppressPackageStartupMessages(library(lme4))
for (name in c("InstEval", "VerbAgg", "sleepstudy", "cbpp")) data(list = name, package = "lme4")

seconds <- function(code) system.time(code)[["elapsed"]]
spread <- function(f) c(fixef(f), sqrt(unlist(VarCorr(f))))
sleep <- function() lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
sleep_fit <- sleep()
cbpp_fit <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)

export <- function(name, path) {
  write.csv(get(name), path, row.names = FALSE)
  0
}
fit_sleepstudy <- function(times) {
  s <- seconds(for (i in seq_len(as.integer(times))) f <- sleep()) / as.integer(times)
  c(s, REMLcrit(f), fixef(f), getME(f, "theta"), sigma(f))
}
boot_sleepstudy <- function(times) {
  s <- seconds(b <- bootMer(sleep_fit, function(f) c(fixef(f), sigma(f)), nsim = as.integer(times)))
  c(s, apply(b$t, 2, sd))
}
profile_sleepstudy <- function() {
  s <- seconds(p <- profile(sleep_fit))
  c(s, t(confint(p)))
}
fit_insteval <- function() {
  s <- seconds(f <- lmer(y ~ service + (1 | s) + (1 | d) + (1 | dept), InstEval))
  c(s, REMLcrit(f), fixef(f), getME(f, "theta"))
}
boot_cbpp <- function(times) c(seconds(b <- bootMer(cbpp_fit, spread, nsim = as.integer(times))), apply(b$t, 2, sd))
fit_verbagg <- function() {
  s <- seconds(f <- glmer(r2 ~ Gender + btype + situ + (1 | id) + (1 | item), VerbAgg, binomial))
  c(s, -2 * as.numeric(logLik(f)), fixef(f))
}
fit_tall <- function(path) {
  rows <- read.csv(path)
  rows$g <- factor(rows$g)
  s <- seconds(f <- lmer(y ~ x + (x | g), rows))
  c(s, REMLcrit(f), fixef(f), getME(f, "theta"))
}
# Means and pairwise comparisons of recipes at each temperature; NA where emmeans or the package of the ddf is absent.
cells_cake <- function(ddf) {
  need <- c("emmeans", if (ddf == "satterthwaite") "lmerTest" else "pbkrtest")
  if (!all(sapply(need, requireNamespace, quietly = TRUE))) return(NA)
  if (!exists("cake_fit")) {
    rows <- transform(lme4::cake, temperature = factor(as.character(temperature)))
    cake_fit <<- lmer(angle ~ recipe * temperature + (1 | recipe:replicate), rows)
  }
  s <- seconds({
    cells <- emmeans::emmeans(cake_fit, ~ recipe | temperature, lmer.df = ddf)
    shown <- summary(cells, infer = TRUE)
    compared <- summary(pairs(cells), infer = TRUE)
  })
  c(s, compared$estimate, compared$SE, compared$df, compared$p.value)
}

set.seed(1)
input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1)) == 1) {
  words <- strsplit(line, " ", fixed = TRUE)[[1]]
  answer <- suppressMessages(suppressWarnings(do.call(words[1], as.list(words[-1]))))
  cat(format(answer, digits = 15, trim = TRUE), "\n")
  flush(stdout())
}
