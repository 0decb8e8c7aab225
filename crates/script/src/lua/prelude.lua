-- What must be Lua: functions that call a script's functions, so that these may be as they like.
local pcall, xpcall, resume, create, error, next, settle, told, checked = ...

local function caught(ok, ...)
  if ok then
    return true, ...
  end
  return false, told((...))
end

local function resumed(ok, ...)
  if ok then
    return true, ...
  end
  return false, settle((...))
end

local function wrapped(ok, ...)
  if ok then
    return ...
  end
  error(settle((...)), 3)
end

-- A step of quicksort as Lua 5.1 makes it, so that what is equal ends up where it does there.
local function sort(t, from, to, less)
  while from < to do
    if less(t[to], t[from]) then
      t[from], t[to] = t[to], t[from]
    end
    if to - from == 1 then
      break
    end
    local low = from + to
    low = (low - low % 2) / 2
    if less(t[low], t[from]) then
      t[low], t[from] = t[from], t[low]
    elseif less(t[to], t[low]) then
      t[low], t[to] = t[to], t[low]
    end
    if to - from == 2 then
      break
    end
    local pivot = t[low]
    t[low], t[to - 1] = t[to - 1], t[low]
    low = from
    local high = to - 1
    while true do
      low = low + 1
      while less(t[low], pivot) do
        if low > to then
          return false
        end
        low = low + 1
      end
      high = high - 1
      while less(pivot, t[high]) do
        if high < from then
          return false
        end
        high = high - 1
      end
      if high < low then
        break
      end
      t[low], t[high] = t[high], t[low]
    end
    t[to - 1], t[low] = t[low], t[to - 1]
    local first, last
    if low - from < to - low then
      first, last = from, low - 1
      from = low + 1
    else
      first, last = low + 1, to
      to = low - 1
    end
    if sort(t, first, last, less) == false then
      return false
    end
  end
end

local function ascending(a, b)
  return a < b
end

return {
  pcall = function(...)
    return caught(pcall(...))
  end,
  xpcall = function(f, handler)
    return resumed(xpcall(f, function(problem)
      return handler(settle(problem))
    end))
  end,
  resume = function(...)
    return resumed(resume(...))
  end,
  wrap = function(f)
    local thread = create(f)
    return function(...)
      return wrapped(resume(thread, ...))
    end
  end,
  sort = function(t, less)
    checked(t, less)
    if sort(t, 1, #t, less or ascending) == false then
      error("invalid order function for sorting", 2)
    end
  end,
  untouched = function(fronts)
    for front in next, fronts do
      if next(front) ~= nil then
        return false
      end
    end
    return true
  end,
}
